"""The page of --mode=web: its layout, the state of a visitor, and edits as streams of events."""
