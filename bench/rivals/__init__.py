"""How others judge a rollout: one file a rival, all reading the same ticks of the same simulated rollouts."""
