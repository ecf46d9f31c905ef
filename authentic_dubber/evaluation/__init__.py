"""Measures of what the dubber speaks. Each says what it can hear and what it cannot; none is a substitute for ears."""
