# mark.py PAGES (PLACE SHARE SHARE)...: makes PAGES pages in each place that begin
# with the marker which the two shares' exclusive or is, says so by a file, and
# stays until it is told to end by another. A place is a file, or "memory" of
# this process, which it leaves to the kernel as programs do; apart from that no
# copy of a marker is left in it.
import os, sys, time

pages, places = int(sys.argv[1]), sys.argv[2:]
page = bytearray(4096)
memory = None
for place, first, second in zip(places[0::3], places[1::3], places[2::3]):
    first, second = bytes.fromhex(first), bytes.fromhex(second)
    for i in range(len(first)):
        page[i] = first[i] ^ second[i]
    if place == "memory":
        memory = page * pages
    else:
        fd = os.open(os.path.expanduser(place), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for n in range(pages):
            page[-4:] = n.to_bytes(4, "big")
            os.write(fd, page)
        os.close(fd)
    for i in range(len(first)):
        page[i] = 0
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.05)
