"""What the notebook shows: piano roll, player, continuation session and training panel."""
