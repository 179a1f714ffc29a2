"""Training: Ultralytics' loop, made repeatable, resumable and observable."""
