"""ONNX graphs, node by node, with constants that are kept once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.errors import OnelayerError, require

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 17, 8
"""Old enough for any runtime that is still in use."""

OLDEST_OPSET = 13
"""The first whose operators have the inputs that are used here."""

Name = str
"""Name of a value in a graph."""


def require_onnx() -> Any:
    """Import onnx.

    Raises:
        OnelayerError: If it is not installed; it names the extra.
    """
    return require("onnx", extra="export", purpose="An ONNX file")


class Graph:
    """Nodes and constants of an ONNX graph, in the order in which they run.

    Args:
        opset: Version of the operators.
        prefix: Beginning of the names of values.
    """

    def __init__(self, opset: int = OPSET, prefix: str = "") -> None:
        self.onnx = require_onnx()
        if opset < OLDEST_OPSET:
            raise OnelayerError(
                f"an ONNX model of opset {opset} was given",
                expected=f"opset {OLDEST_OPSET} or later",
                hint="Convert it with onnx.version_converter.convert_version.",
            )
        self.opset, self.prefix = opset, prefix
        self.nodes: list[onnx.NodeProto] = []
        self._numbers = itertools.count()
        self._constants: dict[tuple[Any, ...], tuple[Name, NDArray[Any]]] = {}

    def node(self, operator: str, *inputs: Name, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node, and return the name of its output; a list of names where it has several."""
        number = next(self._numbers)
        base = f"{self.prefix}{operator.lower()}_{number}"
        names = [f"{base}_{place}" for place in range(outputs)] if outputs > 1 else [base]
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), names, **attributes))
        return names if outputs > 1 else names[0]

    def constant(self, values: ArrayLike, dtype: Any = np.float32) -> Name:
        """Add a constant, or find the same one, and return its name."""
        array = np.array(values, dtype=dtype, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = f"{self.prefix}constant_{len(self._constants)}", array
        return self._constants[key][0]

    def indices(self, values: ArrayLike) -> Name:
        """Add a constant of int64."""
        return self.constant(values, np.int64)

    def cast(self, name: Name, dtype: Any) -> Name:
        """Convert values to a dtype of NumPy."""
        to = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        result: Name = self.node("Cast", name, to=to)
        return result

    def either(self, condition: Name, yes: Callable[[Graph], Name], no: Callable[[Graph], Name]) -> Name:
        """Add a choice between two computations, of which one runs, and return the name of its result.

        Args:
            condition: Name of a bool.
            yes: Function that adds the nodes of a branch to a graph, and returns the name of its result.
            no: Function that adds those of the other.
        """
        branches = {}
        for name, add in (("then_branch", yes), ("else_branch", no)):
            branch = copy(self)
            branch.nodes = []
            result = self.onnx.helper.make_tensor_value_info(add(branch), self.onnx.TensorProto.FLOAT, None)
            branches[name] = self.onnx.helper.make_graph(branch.nodes, name, [], [result])
        chosen: Name = self.node("If", condition, **branches)
        return chosen

    def model(
        self, inputs: dict[Name, tuple[Any, tuple[int | str, ...]]], outputs: dict[Name, tuple[Any, Any]], ir: int
    ) -> onnx.ModelProto:
        """Finish the graph.

        Args:
            inputs: NumPy dtype and dimensions of each input, by name.
            outputs: NumPy dtype and dimensions of each output, by name.
            ir: Version of the format of the file.
        """
        helper = self.onnx.helper

        def info(name: Name, kind: tuple[Any, Any]) -> Any:
            return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind[0])), kind[1])

        graph = helper.make_graph(
            self.nodes,
            "preprocessing",
            [info(*item) for item in inputs.items()],
            [info(*item) for item in outputs.items()],
            [self.onnx.numpy_helper.from_array(array, name) for name, array in self._constants.values()],
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=ir, producer_name="onelayer"
        )
