"""Numbers of the kernel's sockets that Python does not name, or not everywhere. Called by bind, udp and ways.

Source: include/uapi/linux/in.h, udp.h, asm-generic/socket.h.
"""

IP_TOS, IP_PKTINFO, IP_MTU_DISCOVER, IP_RECVTOS = 1, 8, 10, 13
IP_PMTUDISC_DONT = 0
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
