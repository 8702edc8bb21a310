"""The world outside, to which events are told: HTTP receivers and mail servers."""
