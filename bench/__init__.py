"""Long runs that measure whether the package keeps its promises."""
