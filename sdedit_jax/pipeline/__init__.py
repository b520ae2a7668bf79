"""An edit from resolved settings to a finished picture."""
