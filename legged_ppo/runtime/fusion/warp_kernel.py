# mypy: ignore-errors
"""A kernel of Warp's around a function in C++; Warp reads annotations, which therefore must not be postponed."""

import warp as wp

_OPTIONS = {"fuse_fp": False}
"""Products are rounded before they are added, as between torch's operators."""


def make_kernel(
    source: str, count: int, name: str, threads: int | None = None
) -> tuple[wp.Kernel, type]:
    """A kernel whose threads run this body of a function of `robot` and `pointers`, and the type of `pointers`,
    an array of `count` addresses that a launch passes by value.

    Args:
        name: of the kernel, as profilers show it.
        threads: of every block that it is launched with, which may then use all registers; None: of any block.
    """
    pointers_type = wp.types.vector(count, wp.uint64)

    @wp.func_native(source)
    def body(robot: wp.int32, pointers: pointers_type): ...

    @wp.kernel(
        name=name,
        enable_backward=False,
        module="unique",
        module_options=_OPTIONS,
        launch_bounds=threads,
    )
    def fused(pointers: pointers_type):
        body(wp.tid(), pointers)

    return fused, pointers_type
