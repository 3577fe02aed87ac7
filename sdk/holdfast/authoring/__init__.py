"""What users write: steps, workflows, apps. Definitions are plain data; nothing here connects anywhere."""
