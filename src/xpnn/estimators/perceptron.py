class Perceptron:
    pass
