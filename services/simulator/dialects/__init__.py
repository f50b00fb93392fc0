"""The two faces: what each venue's clients speak to, as the venue pages describe it."""
