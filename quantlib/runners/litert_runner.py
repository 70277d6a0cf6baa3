"""The LiteRT runner: the same protocol on an optional runtime; the one file that imports it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from quantlib.errors import InvalidModel, InvalidValue, MissingExtra, NotFound
from quantlib.tflite import Model

from .protocol import Array, Interface, Tap, computed, feed, indices_of, interface_of

RESOLVERS = ("builtin", "reference", "xnnpack", "default")


class LiteRTRunner:
    """Runs a model in LiteRT, with every tensor kept so that all can be seen.

    Parameters
    ----------
    model : Model
    signature : str, optional
        Which signature to run, where there are several.
    resolver : str
        ``builtin`` (no delegate, all tensors observable), ``reference``, ``default`` (XNNPACK as applications have
        it, whose tensors can't be seen), or ``xnnpack`` (with every tensor kept; for plain models, see `is_plain`).
    threads : int
        Threads of the interpreter.

    Raises
    ------
    MissingExtra
        If ai-edge-litert isn't installed.
    NotFound
        If there is no such resolver or signature.
    InvalidModel
        If LiteRT refuses the model.
    """

    def __init__(
        self, model: Model, signature: str | None = None, *, resolver: str = "builtin", threads: int = 1
    ) -> None:
        if resolver not in RESOLVERS:
            raise NotFound(f"there is no resolver {resolver!r}; known are {', '.join(RESOLVERS)}")
        self.model = model
        self.interface: Interface = interface_of(model, signature)
        self._settings = resolver, threads
        self._content = None if model.unchanged and model.source.path else model.to_bytes()
        # LiteRT resets recurrent state, but keeps resource variables as long as the interpreter lives
        self._renewed = "VAR_HANDLE" in model.operator_names
        self._used = False
        self._signature = _key(model, signature, self.interface)
        self._seen = _visible(model, self.interface.subgraph)
        self._start()

    def _start(self) -> None:
        self._made = _interpreter(self.model, self._content, *self._settings)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._called = None if self._signature is None else self._made.get_signature_runner(self._signature)

    def run(self, inputs: Any, *, tap: Tap | None = None, keep_state: bool = False) -> dict[str, Array]:
        """Run one sample; see `Runner.run`. Only tensors of the signature's own subgraph are shown to a tap.

        Raises
        ------
        InvalidValue
            If the sample doesn't fit; or there is a tap and the resolver is ``default``, under which the memory of a
            tensor is used again.
        InvalidModel
            If LiteRT can't run the model.
        """
        values = feed(self.interface, inputs)
        if tap is not None and self._settings[0] == "default":
            raise InvalidValue("a tap can't see tensors with the resolver 'default'; use 'builtin' or 'reference'")
        if self._renewed and self._used and not keep_state:
            self._start()
        self._used = True
        with _named():
            if self._called is not None:
                self._run_signature(values, keep_state)
            else:
                self._run_first(values, keep_state)
        g = self.interface.subgraph
        if tap is not None:
            for index in self._seen:
                with contextlib.suppress(ValueError):  # an output that nobody reads may never be allocated
                    # a view of LiteRT's memory where the binding has one: copies would take longer than the run
                    tap(g, index, self._made.get_tensor(index, g) if g else self._made.tensor(index)())
        with _named():
            return {port.name: self._made.get_tensor(port.index, g) for port in self.interface.outputs}

    def _run_first(self, values: dict[str, Array], keep_state: bool) -> None:
        made = self._made
        shapes = {name: value.shape for name, value in values.items()}
        if shapes != self._shapes:
            self._shapes = {}
            for port in self.interface.inputs:
                made.resize_tensor_input(port.index, values[port.name].shape)
            made.allocate_tensors()
            self._shapes = shapes
        if not keep_state:
            made.reset_all_variables()
        for port in self.interface.inputs:
            made.set_tensor(port.index, values[port.name])
        made.invoke()

    def _run_signature(self, values: dict[str, Array], keep_state: bool) -> None:
        """Run another subgraph than the first, which LiteRT has signatures for."""
        if self._called is None:
            return
        if not keep_state:
            self._made.reset_all_variables()
        self._called(**{port.alias: values[port.name] for port in self.interface.inputs})


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """LiteRT's own errors, as ours."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if isinstance(error, (InvalidValue, InvalidModel)):
            raise
        raise InvalidModel(f"LiteRT stopped: {' '.join(str(error).split())}") from None


def is_plain(model: Model) -> bool:
    """Whether LiteRT 2.3 can run a model on XNNPACK and keep every tensor.

    With variables or called subgraphs it crashes, or shows other memory.
    """
    return len(model.subgraphs) == 1 and not {"VAR_HANDLE", "WHILE", "IF", "CALL_ONCE"} & set(model.operator_names)


def _key(model: Model, signature: str | None, interface: Interface) -> str | None:
    """Key of the signature to run by; None for the first subgraph, which runs without."""
    if not interface.subgraph or signature is not None:
        return signature if interface.subgraph else None
    keys = [s.signature_key for s in model.root.signature_defs or () if s.subgraph_index == interface.subgraph]
    return keys[0] or ""


def _interpreter(model: Model, content: bytes | None, resolver: str, threads: int) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        raise MissingExtra(
            "ai-edge-litert is not installed; pip install 'tflite-quantlib[litert]', or use the NumPy runner"
        ) from None
    kinds = {
        "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        "reference": OpResolverType.BUILTIN_REF,
        "xnnpack": OpResolverType.AUTO,
        "default": OpResolverType.AUTO,
    }
    source = {"model_path": model.source.path} if content is None else {"model_content": content}
    try:
        with warnings.catch_warnings():
            # it warns of the memory that all tensors take, and they are what this runner is for
            warnings.simplefilter("ignore", UserWarning)
            return Interpreter(
                **source,
                experimental_op_resolver_type=kinds[resolver],
                experimental_preserve_all_tensors=resolver != "default",
                num_threads=threads,
            )
    except (RuntimeError, ValueError) as error:
        raise InvalidModel(f"LiteRT refuses the model: {' '.join(str(error).split())}") from None


def _visible(model: Model, g: int) -> list[int]:
    """Tensors of a subgraph that a tap is shown and that NumPy can hold.

    What WHILE and IF give and nobody reads, LiteRT 2.3 doesn't compute; other values are found in its memory.
    """
    graph = model.subgraphs[g]
    read = set(indices_of(graph.outputs))
    unsure: set[int] = set()
    for operator in graph.operators or ():
        read.update(indices_of(operator.inputs))
        if model.operator_name(operator) in ("WHILE", "IF"):
            unsure.update(indices_of(operator.outputs))
    tensors = [model.tensor((g, i)) for i in computed(model, g) if i in read or i not in unsure]
    return [t.index for t in tensors if t.dtype is not None and np.dtype(t.dtype).kind in "fiub"]
