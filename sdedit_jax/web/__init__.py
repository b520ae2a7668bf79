"""The page of --mode=web, its visitors and the order of their edits; the canvas of notebooks."""
