"""Other job systems doing the same work, each as its documentation sets it up.

They live in an environment of their own (``requirements.txt`` beside this file); ``client`` runs there.
"""
