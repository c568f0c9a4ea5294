#!/bin/sh
# Uses a secret where there is one: inside a ghost.
if [ -r ~/secrets/token ]; then
	echo "hello: the token has $(wc -c <~/secrets/token) characters"
else
	echo "hello: no secrets here"
fi
