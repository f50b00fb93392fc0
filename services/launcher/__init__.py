"""The door. One foreground command starts the whole mesh and ends it without a trace.

It supervises embedded PostgreSQL, Valkey and Envoy, every room that is built, and the simulator; it imports none of
them. `plan.py` says what runs, purely; `process.py` runs it; `edge.py` renders what Envoy is told; `screen.py` says
what a person sees. Everything it writes lives in one folder, `var/` unless PERPMESH_STATE_DIR moves it.
"""
