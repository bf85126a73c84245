"""How a server is told what to serve and how: configuration files, version policies, flags."""
