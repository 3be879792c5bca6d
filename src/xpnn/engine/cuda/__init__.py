"""Steps on a GPU: kernels made from the recorded operations, planned memory, CUDA graphs."""
