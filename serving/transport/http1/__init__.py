"""An HTTP/1.1 server on asyncio. https://www.rfc-editor.org/rfc/rfc9112"""
