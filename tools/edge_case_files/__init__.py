"""Makes the edge-case files of the parity certificate; `PYTHONPATH=tools python -m edge_case_files OUT.zip`.

`src/tinysight/certificate/edge_cases.zip` holds their edition 1, and a test holds both to the same bytes. An archive
with other bytes needs another `EDITION` in `tinysight.certificate.compare`.
"""
