"""The degradations' operations for whole batches on a GPU, in Triton: every image has its own size and its own recipe.

The reference, plain PyTorch on one image, says what an operation means; the kernels agree with it within the tolerances
that `tests/degradations/test_fused*.py` state. This package can be imported where there is no Triton, its modules not.
"""
