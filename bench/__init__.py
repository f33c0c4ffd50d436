"""Long runs that hold the package's promises against figures."""
