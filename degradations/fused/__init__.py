"""The degradations' operations for whole batches on a GPU, in Triton: every image has its own size and its own recipe.

The reference, plain PyTorch on one image, defines an operation; the kernels agree with it within the tolerances that
`tests/degradations/test_fused*.py` state. Without Triton this package, `dispatch` and `switch` can be imported, the
other modules cannot.
"""
