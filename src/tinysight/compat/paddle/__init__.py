"""PaddleClas' files, read safely without the framework that wrote them (NumPy shore).

`dialect` reads configurations and `deploy_run` deploy configurations; `pdparams` weights, `folder` exported programs;
`to_onnx` translates a program, `bundle` makes a bundle of one; `catalog` lists the published files, and `named_bundle`
finds one by its name and makes a bundle of it. The core asks for all of this through `hooks`.
"""
