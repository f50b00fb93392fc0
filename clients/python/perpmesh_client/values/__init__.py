"""What the mesh shows, as frozen values: decimals for every price, size and rate, aware datetimes for every time.

Field names are those of the contract (`perpmesh.marketdata.v1`), so the documentation of REST and of gRPC holds here
as well. Nothing here does I/O or imports gRPC.
"""
