"""What every destination promises, what they share, and a package for each."""
