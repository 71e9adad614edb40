"""Programs on other engines: the same traced step on XLA, on many devices, or out of the house.

Each part reads a Program after the exact passes and nothing else, and none is imported before
somebody asks for it: what it needs is no dependency of the library.

| to | file |
|---|---|
| have JAX, or be told how to get it | found.py |
| compute a program's operations in JAX: one table of rules | lower.py |
| keep a step's state on the device, a Tensor's numbers away | jax_engine.py, away.py |
| find out which engine is faster | auto.py |
| take the settings of `compile` | options.py |
| look at what a program takes for granted | assumed.py |
| divide a batch among devices and hosts | parallel.py |
| hand a program out as a plain function of JAX: `program.to_jax()` | function.py |
| find what follows the batch, from three traces | batches.py |
| write a model to a file that other programs run: `export()` | export.py, stablehlo.py |
| ... as ONNX: the file, its nodes | onnx_file.py, onnx_graph.py |
| what each step is in ONNX, windows of images apart | onnx_rules.py, onnx_images.py |
"""
