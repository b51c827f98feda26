"""From the text of a module (LLVM IR) to object code for the CPU at hand.

This file needs llvmlite alone: crew.py runs it in processes of their own, which compile beside this one.
"""

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Any, BinaryIO

EXPLICIT = "; vectors and loops are as written\n"  # a module that begins so is searched for no more: half the time
INLINED = " alwaysinline "  # code/large.py's functions
BUILD = "4"  # to be raised whenever `build` compiles otherwise: the disk has code of before
COUNT = 8  # bytes of a length, before a text or object code


@cache
def binding() -> Any:
    """llvmlite's binding, loaded with the first kernel. ImportError where llvmlite is not installed."""
    import llvmlite.binding  # noqa: PLC0415

    return llvmlite.binding


@cache
def machine() -> Any:
    """The CPU at hand, with all its features."""
    return new_machine()


def new_machine() -> Any:
    """The CPU at hand once more: who takes one into possession gets one of its own."""
    binding().initialize_native_target()
    binding().initialize_native_asmprinter()
    target = binding().Target.from_default_triple()
    features = binding().get_host_cpu_features().flatten()
    return target.create_target_machine(
        cpu=binding().get_host_cpu_name(), features=features, opt=3, jit=True, reloc="pic"
    )  # fmt: skip


def build(text: str) -> bytes:
    """The object code of a module. RuntimeError where LLVM refuses the text."""
    module = binding().parse_assembly(text)
    module.triple = machine().triple
    module.data_layout = str(machine().target_data)
    module.verify()
    search = not text.startswith(EXPLICIT)
    _optimize(module, search=search)
    if INLINED in text:
        _inline(module)
    with _rewritten_addresses(search):
        return machine().emit_object(module)


def _optimize(module: Any, *, search: bool) -> None:
    """LLVM's passes over a module; `search`: for loops to vectorise and unroll, too.

    Code that is written out needs few: all of level 2 take three times as long and gain nothing measurable.
    """
    options = binding().create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = search
    builder = binding().create_pass_builder(machine(), options)
    if search:
        passes = builder.getModulePassManager()
    else:
        passes = binding().create_new_module_pass_manager()
        passes.add_ipsccp_pass()  # constants that helpers are called with: else weight gradients take 1.5 times
        passes.add_sroa_pass()
        passes.add_instruction_combine_pass()
        passes.add_simplify_cfg_pass()
        passes.add_new_gvn_pass()
        passes.add_instruction_combine_pass()
    passes.run(module, builder)


def _inline(module: Any) -> None:
    """Functions of vectors that must be inlined, after the vectoriser has put them in the places of scalar ones."""
    builder = binding().create_pass_builder(machine(), binding().create_pipeline_tuning_options(speed_level=2))
    passes = binding().create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.run(module, builder)


@contextlib.contextmanager
def _rewritten_addresses(wanted: bool) -> Iterator[None]:
    """Whether LLVM looks for cheaper addresses in loops (loop strength reduction).

    Without it machine code is made in half the time. Loops that are written out are as fast, norms 8 % faster; those
    that LLVM vectorises are up to 1.4 times as slow where strides are not one.
    """
    if wanted:
        yield
        return
    binding().set_option("", "-disable-lsr=true")  # of the process: others may use LLVM, too
    try:
        yield
    finally:
        binding().set_option("", "-disable-lsr=false")


def serve(texts: BinaryIO, images: BinaryIO) -> None:
    """Builds one text after another, each after its length; no bytes where one is refused. First it says 'ready'."""
    machine()
    images.write(bytes(COUNT))
    images.flush()
    while head := texts.read(COUNT):
        try:
            image = build(texts.read(int.from_bytes(head, "little")).decode())
        except RuntimeError:
            image = b""
        images.write(len(image).to_bytes(COUNT, "little") + image)
        images.flush()
