# feed.py SHARE SHARE COMMAND...: runs COMMAND with a secret in a file in RAM on
# descriptor 3. The secret is the two shares' exclusive or; it is made in place
# zeroed in place, and never swapped, so that no copy of it is of our making.
import ctypes, mmap, os, sys

first, second = (bytes.fromhex(share) for share in sys.argv[1:3])
fd = os.memfd_create("secret", 0)
os.ftruncate(fd, len(first))
secret = mmap.mmap(fd, len(first))
here = ctypes.c_char.from_buffer(secret)
if ctypes.CDLL(None).mlock(ctypes.c_void_p(ctypes.addressof(here)), ctypes.c_size_t(len(first))) != 0:
    sys.exit("the secret can't be locked")
for i in range(len(first)):
    secret[i] = first[i] ^ second[i]
os.dup2(fd, 3)
status = os.spawnvp(os.P_WAIT, sys.argv[3], sys.argv[3:])
for i in range(len(first)):
    secret[i] = 0
sys.exit(status if status >= 0 else 128 - status)
