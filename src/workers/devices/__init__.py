"""The GPUs of this machine: which there are, which model has a share of which, and their memory."""
