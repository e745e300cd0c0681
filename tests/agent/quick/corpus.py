"""Files as people have them: of phones, providers and servers. Written for these tests."""

from __future__ import annotations

import base64

KEY, OTHER, THIRD, PSK = (base64.b64encode(bytes([number]) * 32).decode() for number in range(1, 5))

PHONE = f"""\
[Interface]
Address = 10.66.66.2/32,fd42:42:42::2/128
DNS = 94.140.14.14,94.140.15.15
PrivateKey = {KEY}

[Peer]
AllowedIPs = 0.0.0.0/0,::/0
Endpoint = 203.0.113.7:61820
PersistentKeepalive = 25
PresharedKey = {PSK}
PublicKey = {OTHER}
"""

PROVIDER = f"""\
# Device: Brave Otter
# Bouncing = 0
# NAT-PMP (Port Forwarding) = on
[Interface]
# Key for laptop
PrivateKey = {KEY}
Address = 10.2.0.2/32
DNS = 10.2.0.1, lan.example.net, corp.example.net

[Peer]
# CH#14
PublicKey = {OTHER}
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = [2001:db8::51]:51820
"""

KILL_SWITCH = f"""\
[Interface]
PrivateKey = {KEY}
Address = 10.64.12.9/32
Address = fc00:bbbb:bbbb:bb01::1:c08/128
DNS = 10.64.0.1
PostUp = hook OUTPUT ! -o %i -m mark ! --mark $(wg show %i fwmark) -m addrtype ! --dst-type LOCAL
PostUp = hook on %i
PreDown = hook off %i; hook twice "%i"

[Peer]
PublicKey = {OTHER}
AllowedIPs = ::0/0, 0.0.0.0/0
Endpoint = 198.51.100.1:51820
"""

SERVER = f"""\
[Interface]
Address = 10.8.0.1/24
Address = fd0d:86fa:c3bc::1/64
Address = 192.168.77.1
ListenPort = 51820
PrivateKey = {KEY}   # keep it safe
SaveConfig = false
PostUp = hook forward %i on; hook masquerade eth0   # both
PostDown = hook forward %i off
PostDown = hook masquerade off

### Client alice
[Peer]
PublicKey = {OTHER}
PresharedKey = {PSK}
AllowedIPs = 10.8.0.2/32, fd0d:86fa:c3bc::2/128

### Client bob, with a network behind
[Peer]
PublicKey = {THIRD}
AllowedIPs = 10.8.0.3/32
AllowedIPs = 192.168.20.0/24, 192.168.21.5/24
"""

SITE = f"""\
[interface]
\tprivatekey\t=\t{KEY}
  ADDRESS=172.16.5.1/30\t,172.16.5.5/30 , 0.1.2.3/8
 listenport = 443
mtu=1380
TABLE = 1234
fwMark = 0xca6c

[PEER]
publickey={OTHER}
endpoint=192.0.2.9:443
allowedips=10.0.0.0/8,172.16.0.0/12,0.0.0.0/0
"""

HAND_ROUTED = f"""\
[Interface]
PrivateKey = {KEY}
Address = 10.9.0.1/24
Table = off
PreUp = hook before %i
PostUp = hook ip rule add from 10.9.0.1 lookup 7
PostUp = hook default via %i
PreDown = hook rule off
PostDown = hook after %i
[Peer]
PublicKey = {OTHER}
AllowedIPs = 0.0.0.0/0
Endpoint = 192.0.2.10:51820
"""

MARKED = f"""\
[Interface]
PrivateKey = {KEY}
FwMark = 0x1234
Address = 10.3.0.2/24, fd03::2/64
[Peer]
PublicKey = {OTHER}
AllowedIPs = 0.0.0.0/1, 128.0.0.0/1, ::/0
Endpoint = 192.0.2.11:51820
[Peer]
PublicKey = {THIRD}
AllowedIPs = 10.3.0.0/24, ::ffff:1.2.3.4/128
Endpoint = 192.0.2.12:51820
"""

WINDOWS = SERVER.replace("\n", "\r\n")

SAVED = f"""\
[Interface]
Address = 10.10.0.1/24
SaveConfig = TRUE
DNS = 10.10.0.53, home.arpa
MTU = 1400
Table = auto
PreUp = hook pre
PostUp =
PostUp = hook post %i
PreDown = hook predown
PostDown = hook postdown
ListenPort = 51820
PrivateKey = {KEY}

[Peer]
PublicKey = {OTHER}
AllowedIPs = 10.10.0.2/32, 10.11.0.0/16
Endpoint = 192.0.2.13:40000
[Interface]
Address = 10.10.1.1/24
"""

NO_PEERS = f"[Interface]\nPrivateKey={KEY}\nDNS = only.example.org"

GOOD = {
    name.lower(): text
    for name, text in globals().items()
    if name.isupper() and name not in ("KEY", "OTHER", "THIRD", "PSK")
}

# what wg or ip would refuse later: strip does not look
ODD = {
    "empty": "",
    "blank": "\n \n\t\n",
    "marked with a byte order": "\ufeff" + PHONE,
    "no section": "Address = 10.0.0.1/24\nPrivateKey = x\n",
    "a section in blanks": "[ Interface ]\nAddress = 10.0.0.1/24\n",
    "a section and more": "[Interface]x\nAddress = 10.0.0.1\n[Interface] = 4\nMTU = 9\n[x]=\nDNS = 1\n",
    "half a section": "[Interface]\n[Inter\nDNS=2\n",
    "a key in two words": "[Interface]\nAdd ress = 10.0.0.1\nDNS 1.1.1.1\nDNS\nMTU\n",
    "signs": "[Interface]\n=5\nA\\\\b = c\\n\nAddress = 10.0.0.1\\\n/24\n*\n$HOME `ls` \"'\n",
    "odd space": "[Interface]\n\x0b\x0cAddress=1.1.1.1\x0b\n\xa0Address=1\n \r \n\x85DNS=1\n\u2028MTU=5",
    "null bytes": "[Inter\0face]\nAddr\0ess = 10.0.0.1/8\n\0",
    "letters beside ASCII": "[Interface]\nPrivateKey = \udcff\xe4\u017f\nADDRE\u017f\u017f = 1\nDN\u017f=1\n",
    "a save that is none": "[Interface]\nSaveConfig = yes\n",
    "no save at all": "[Interface]\nSaveConfig\n",
    "saves that differ": "[Interface]\nSaveConfig = true\nsaveconfig=False#\n",
    "a save of a peer": "[Peer]\nSaveConfig = maybe\n",
}
