"""Other job systems doing the same work, each set up as in its documentation.

They live in a separate environment (``requirements.txt`` in this folder); ``client`` runs there.
"""
