"""What every fast function means, in slow plain Python."""
