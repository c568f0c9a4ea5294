"""What tini's suite takes of the package bitmap."""


class BitMap(list):
    @staticmethod
    def fromstring(bits):
        return BitMap(bits[::-1])

    def nonzero(self):
        return [n for n, bit in enumerate(self) if bit == "1"]
