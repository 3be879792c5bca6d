"""What training and prediction take on one GPU, beside PyTorch and scikit-learn, in one run.

Each work runs in a process of its own with a time limit, so that what fails there, or takes
too long, costs no other. Everything also runs with ``--device cpu``: NumPy for this library,
PyTorch on the CPU, and no CUDA graphs.
"""
