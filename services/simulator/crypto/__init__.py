"""Checking what clients sign: Ethereum signatures and typed data, and Lighter's Schnorr signatures over ecGFp5.

Written apart from everything that signs, so that a signature accepted here was understood twice.
"""
