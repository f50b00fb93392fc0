"""The door's own rules: what a topic is, what a client may say, what is kept for whom, and what gives way when.

Everything here is pure. Time comes in as seconds of one monotonic clock.
"""
