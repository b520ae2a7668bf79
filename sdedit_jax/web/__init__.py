"""The page of --mode=web: its layout, the state of its visitors, and the order of their edits."""
