"""What keeps a household running on its own computer.

``fedwatt-client start`` (commands) makes the command line of folder's settings (folder) and becomes
the keeper, which starts the node again whenever it ends (keeper); the node is Flower's SuperNode,
which asks the coordinator for messages (node). It answers them in forks (executor, clientapp).
"""
