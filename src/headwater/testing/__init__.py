"""For tests: the laws that every engine passes, a clock that tests move, fakes."""
