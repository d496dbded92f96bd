"""Supported boards: each is data, a platform and a configuration that has been shown to route."""
