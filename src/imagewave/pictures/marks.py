"""The mark that says of a picture file that a model made it: XMP, with IPTC's terms."""

from typing import Final
from xml.sax.saxutils import escape

AI_MADE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's digital source type of what a trained model made."""


def ai_made_xmp(model: str, image: str) -> bytes:
    """An XMP packet: made by that model; `image` is the SHA-256 of the picture as it came."""
    packet = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about=""
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/">
<Iptc4xmpExt:DigitalSourceType>{AI_MADE}</Iptc4xmpExt:DigitalSourceType>
<Iptc4xmpExt:AISystemUsed>{escape(model)}</Iptc4xmpExt:AISystemUsed>
<xmpMM:OriginalDocumentID>sha256:{escape(image)}</xmpMM:OriginalDocumentID>
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""
    return packet.encode()
