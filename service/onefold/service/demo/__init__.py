"""The demo: a shop's real orders under a made world of people whose truth is known."""
