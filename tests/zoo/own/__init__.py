"""The forms that MLflow's server does not have: Arrow, and Open Inference in JSON and in binary."""
