"""The audit of captions: what they name, how often, and what that is worth to a contrastive loss."""
