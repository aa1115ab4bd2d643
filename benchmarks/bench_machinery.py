"""What does propagation cost per page without rendering, and how much of it is its unavoidable parts?"""

from benchmarks.machinery import measure

__all__ = ["measure"]
