"""What do training and prediction take on one GPU, beside PyTorch and scikit-learn?

python benchmarks/gpu [--data FOLDER_WITH_MNIST] [--json FILE] [--plot FILE.png] [--quick]
                      [--work mnist,tabular,large,estimator,predict,time98,ceilings]
                      [--device cuda:0] [--threads N]

A limit for each work keeps all of it under eight minutes.
``--device cpu --tiny`` goes through it without a GPU.
"""

from xpnn.bench.gpu.command import main

if __name__ == "__main__":
    raise SystemExit(main())
