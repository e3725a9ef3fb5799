"""What was refused: read it, select from it, rehearse what it would do, and send it back."""
