"""PaddleClas' files, read safely without the framework that wrote them (NumPy shore).

`dialect` reads configurations and `deploy_run` deploy configurations; `pdparams` weights, `folder` exported programs;
`to_onnx` translates a program, `bundle` makes a bundle of one; `catalog` lists the published files, and `named_bundle`
makes a bundle of one by its name. The core asks for all of this through `hooks`.
"""
