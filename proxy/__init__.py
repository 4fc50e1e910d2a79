"""The stateless coordinating proxy: routes, splits, scatters, merges, holds back."""
