"""The tutorial's perceptron and examples."""

from xpnn import Perceptron

SQUARE = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
AND = [0, 0, 0, 1]
XOR = [0, 1, 1, 0]
CORNERS = [[0.0, 0.0], [1.0, 0.0], [8.0, 0.0], [9.0, 1.0], [0.0, 9.0], [1.0, 8.0]]


def tutorial(**options):
    """In the order of the rows, until nothing changes; threshold units."""
    return Perceptron(**{"shuffle": False, "tol": None, "fires_at_zero": True} | options)
